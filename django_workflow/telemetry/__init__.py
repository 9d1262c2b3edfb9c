"""What is seen of the engine from outside: traces, metrics, log lines. Each is asked for by the project, or not there."""
