"""``python -m landform`` is ``landform``."""

from landform.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
