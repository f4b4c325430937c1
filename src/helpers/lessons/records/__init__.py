"""What a learner has done, summed up: for the learner, for a certificate, and for a teacher."""
