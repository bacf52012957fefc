"""The edge: sockets, TLS, WebSocket, HTTP, tokens, and the hub that is made of them."""
