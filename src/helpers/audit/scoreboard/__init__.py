"""Lesson 09's scoreboard: the audit of the chatbot, live, in eight rows and two totals."""

from helpers.audit.scoreboard.board import Board, scoreboard
from helpers.audit.scoreboard.rush import Rush, rush_hour, side_by_side

__all__ = ["Board", "Rush", "rush_hour", "scoreboard", "side_by_side"]
