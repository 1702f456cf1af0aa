"""Entry point of the Python runtime.

Kept this small on purpose: a script is compiled at every start, a module is
not, because its byte code lies beside it.
"""
import lambent_runtime

if __name__ == "__main__":
    lambent_runtime.main()
