"""The package's interface to the machine: files, signals, the console, cores."""
