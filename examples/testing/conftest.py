pytest_plugins = ["trio_projectx.testing"]
