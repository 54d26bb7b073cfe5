"""Plugins for rompy-core, as anybody can write them; ``pyproject.toml`` says under which names they are found."""
