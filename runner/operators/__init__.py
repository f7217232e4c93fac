"""Single operators: the logs of what models call them with, inputs made from such logs, and measuring them."""
