"""Why no farther: what gradients reach, what gates do, and which step of remembering failed."""
