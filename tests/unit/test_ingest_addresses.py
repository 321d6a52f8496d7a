from __future__ import annotations

import pytest

from services.ingest.addresses import BadUrl, ForbiddenAddress, check_url, is_public


@pytest.mark.parametrize(
    "host", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(host):
    assert is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
        "localhost", "example.org", "",
    ],
)  # fmt: skip
def test_others_are_not(host):
    assert not is_public(host)


@pytest.mark.parametrize("url", ["https://example.org/v.mp4", "http://93.184.216.34:8080/a", "HTTPS://EXAMPLE.org"])
def test_web_addresses_pass(url):
    assert check_url(url, allow_private=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "example.org",
        "",
        "http://",
        "http://[::1",
        "http://a:b@example.org/",
        "http://x:99999/",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url):
    with pytest.raises(BadUrl) as caught:
        check_url(url, allow_private=True)
    assert caught.value.code == "ingest.bad_url"
    assert "a:b" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:9000/x",
        "http://a.localhost./x",
        "http://[::1]:80/",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_private_addresses_are_refused_unless_allowed(url):
    with pytest.raises(ForbiddenAddress):
        check_url(url, allow_private=False)
    assert check_url(url, allow_private=True) == url
