"""``python -m rompy_cli`` is ``rompyrun``."""

from rompy_cli import main

if __name__ == "__main__":
    main()
