"""What makes the server a stand-in for the real APIs: `ovx-lite dev` alone has it."""
