"""The simulated cloud for the demo and the tests: AWS API server, lags, autoscalers, faults, load.

`from sandbox.sandbox import Sandbox`; see README.md. Importing this package costs nothing: moto comes with
`sandbox.sandbox`.
"""
