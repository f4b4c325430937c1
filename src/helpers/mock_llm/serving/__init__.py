"""What both providers' routes share: engine, sending, errors, limits, faults."""
