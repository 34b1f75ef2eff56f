"""Airflow's side of mmprod: operators, triggers and assets for `dags/`.

It runs in Airflow's environment, so nothing here imports torch, pyarrow or the rest of mmprod: the `mmprod`
command does the work, in an environment of its own.
"""
