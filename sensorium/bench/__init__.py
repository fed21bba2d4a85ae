"""Measuring a running Sensorium from outside."""
