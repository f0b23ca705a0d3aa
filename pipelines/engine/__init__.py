"""What runs the tasks of a stage: threads of this process (ENGINE=local), or a Ray cluster (ENGINE=ray).

Entry points: Engine (flow.py), open_engine (opening.py), check_nodes (nodes.py). The modules ray_*.py need the extra
`ray`, so they are imported only where ENGINE=ray.
"""
