"""Operators, triggers and assets for the DAGs in `dags/`.

This package runs in Airflow's environment, so it does not import torch, pyarrow or the rest of mmprod. The
work is done by the `mmprod` command, which is installed in an environment of its own.
"""
