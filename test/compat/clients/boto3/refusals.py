"""What clients are refused."""

from botocore.exceptions import ClientError


def expect(code, call, **kwargs):
    """Makes a call that must fail with an error code, and gives the message."""
    try:
        call(**kwargs)
    except ClientError as err:
        assert err.response["Error"]["Code"] == code, err
        assert err.response["Error"]["Message"], err.response
        return err.response["Error"]["Message"]
    raise AssertionError(f"{call} did not raise {code}")
