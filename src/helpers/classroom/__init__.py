"""A room's page for a workshop: everybody's predictions, before and after the run.

Lessons reach the page over HTTP only. It keeps nothing after it ends.
"""
