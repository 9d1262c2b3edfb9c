"""How a claimed delivery reaches the workflow function: in the worker's process, or over HTTP."""
