"""What the program asks of the operating system: locks, atomic writes, child processes, memory, text for a terminal.

Entry points: hold_run_lock (run_lock.py), hold_lock (file_lock.py), write_atomically and Digests (files.py),
child_process (child.py).
"""
