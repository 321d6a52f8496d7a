from __future__ import annotations

import pytest

from console import home as homes
from console.home import BROKER, Home, Stack, addresses, find_home, read_env_file

PORTS = {part: 21_000 + position for position, part in enumerate((*homes.SERVERS, *homes.SERVICES))}
STACK = Stack("ab12", PORTS, "database-secret", "key", "object-secret")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("HEATERS_LOG_LEVEL=DEBUG", {"HEATERS_LOG_LEVEL": "DEBUG"}),
        ("export HEATERS_DATA='/a b'", {"HEATERS_DATA": "/a b"}),
        ('HEATERS_DATA="/a#b"', {"HEATERS_DATA": "/a#b"}),
        ("HEATERS_DATA=/a # where it lies", {"HEATERS_DATA": "/a"}),
        ("# HEATERS_DATA=/a", {}),
        ("HEATERS_DATA=", {}),
        ("PATH=/bin", {}),
        ("nonsense", {}),
    ],
)
def test_env_files_are_read_line_by_line(tmp_path, line, expected):
    (tmp_path / ".env").write_text(line + "\n")
    assert read_env_file(tmp_path / ".env") == expected


def test_the_environment_comes_before_the_env_file(tmp_path):
    (tmp_path / ".env").write_text("HEATERS_DATA=/from/file\nHEATERS_LOG_LEVEL=DEBUG\n")
    home = find_home({"HEATERS_DATA": "/from/environment", "PATH": "/bin"}, tmp_path)
    assert str(home.data) == "/from/environment"
    assert home.settings == {"HEATERS_DATA": "/from/environment", "HEATERS_LOG_LEVEL": "DEBUG"}


def test_data_lies_in_the_clone_without_a_setting(tmp_path):
    assert find_home({}, tmp_path).data == tmp_path / ".heaters"


def test_embedded_servers_get_loopback_addresses_and_their_defaults(tmp_path):
    found = addresses(Home(tmp_path), STACK)
    assert found["HEATERS_KAFKA_BOOTSTRAP"] == f"127.0.0.1:{PORTS[BROKER]}"
    assert "database-secret" in found["HEATERS_DATABASE_URL"]
    assert found["HEATERS_S3_SECRET_KEY"] == "object-secret"
    assert found["HEATERS_REVIEW_URL"] == f"http://127.0.0.1:{PORTS['review']}"
    assert "HEATERS_KAFKA_SESSION_TIMEOUT_MS" in found


def test_an_external_server_replaces_the_embedded_one_with_its_defaults(tmp_path):
    settings = {
        "HEATERS_KAFKA_BOOTSTRAP": "kafka:9092",
        "HEATERS_S3_ENDPOINT": "https://store",
        "HEATERS_S3_ACCESS_KEY": "theirs",
    }
    found = addresses(Home(tmp_path, settings), STACK)
    assert found["HEATERS_KAFKA_BOOTSTRAP"] == "kafka:9092"
    assert "HEATERS_KAFKA_FETCH_WAIT_MS" not in found
    assert found["HEATERS_S3_ACCESS_KEY"] == "theirs"
    assert "HEATERS_S3_SECRET_KEY" not in found


def test_a_person_may_change_a_default_but_not_an_embedded_address(tmp_path):
    settings = {"HEATERS_KAFKA_FETCH_WAIT_MS": "7", "HEATERS_S3_ACCESS_KEY": "stray"}
    found = addresses(Home(tmp_path, settings), STACK)
    assert found["HEATERS_KAFKA_FETCH_WAIT_MS"] == "7"
    assert found["HEATERS_S3_ACCESS_KEY"] == "key"


def test_a_stack_is_chosen_once_and_kept_private(tmp_path, monkeypatch):
    monkeypatch.setattr(homes, "is_free", lambda port: True)
    home = Home(tmp_path)
    first = homes.prepare_stack(home)
    assert homes.prepare_stack(home) == first
    assert len(set(first.ports.values())) == len(first.ports)
    assert home.stack_file.stat().st_mode & 0o777 == 0o600


def test_only_a_port_that_somebody_took_is_chosen_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(homes, "is_free", lambda port: True)
    first = homes.prepare_stack(Home(tmp_path))
    lost = first.ports[BROKER]
    monkeypatch.setattr(homes, "is_free", lambda port: port != lost)
    second = homes.prepare_stack(Home(tmp_path))
    assert second.ports[BROKER] != lost
    assert {name: port for name, port in second.ports.items() if name != BROKER} == {
        name: port for name, port in first.ports.items() if name != BROKER
    }
    assert second.database_password == first.database_password


def test_without_a_free_port_the_sentence_says_so(monkeypatch):
    monkeypatch.setattr(homes, "is_free", lambda port: False)
    with pytest.raises(OSError, match="no loopback port"):
        homes.free_port([])


def test_half_written_state_counts_as_none(tmp_path):
    (tmp_path / "state.json").write_text('{"pid": ')
    assert homes.read_json(tmp_path / "state.json") == {}
    assert homes.read_json(tmp_path / "absent.json") == {}


def test_ports_lie_below_those_that_systems_hand_out():
    assert homes.PORTS.stop <= 32_768
