"""A room's page for a workshop: the predictions of everybody, before and after the run.

Lessons reach it by HTTP alone. It keeps nothing once it ends.
"""
