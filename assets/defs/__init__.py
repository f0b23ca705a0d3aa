"""Assets, checks, jobs, schedules, sensors and resources. Entry point: definitions.py, named by workspace.yaml."""
