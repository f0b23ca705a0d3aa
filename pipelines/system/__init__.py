"""What the machine asks of the operating system: file locks, signals, the last words of child processes."""
