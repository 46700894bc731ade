"""`python -m aivailable.devices`: the same as `aivailable-gpu`, for tests and for hosts without console scripts."""

from aivailable.devices.launch import main

main()
