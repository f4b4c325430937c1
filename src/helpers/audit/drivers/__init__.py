"""What uses an application while the provider plays a scenario."""
