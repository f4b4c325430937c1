"""What a learner works with: predictions, exercises, hints, progress and the notebooks."""
