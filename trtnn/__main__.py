"""``python -m trtnn`` is the command ``trtnn``."""

from trtnn.cli import main

if __name__ == "__main__":
    main()
