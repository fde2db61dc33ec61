"""``python -m natx``: the program natx, also under torchrun (``torchrun --nproc-per-node 2 -m natx train ...``)."""

from natx.cli.main import main

if __name__ == "__main__":
    main()
