"""`python -m activity_stack`."""

from activity_stack.cli import main

if __name__ == "__main__":
    main()
