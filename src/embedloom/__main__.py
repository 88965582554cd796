"""`python -m embedloom` is the command `embedloom`."""

from embedloom.cli.main import main

if __name__ == "__main__":
    main()
