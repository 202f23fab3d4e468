"""Run one job from request to answer: intake, runner, delivery; independent of the platform."""
