"""The emulator, `ovx-lite dev`: the app with manual time, fault rules and a journal of requests."""
