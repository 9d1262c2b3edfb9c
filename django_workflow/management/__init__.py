"""The command line: a window like the others. What commands share stands in `base` and `output`."""
