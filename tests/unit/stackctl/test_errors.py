from __future__ import annotations

from stackctl import errors


def test_every_code_is_unique_and_drawn_in_the_docstring() -> None:
    classes = set(errors.BY_CODE.values())

    assert len(classes) == len(errors.BY_CODE)
    for cls in classes:
        assert cls.__name__ in (errors.__doc__ or "")
        assert f" {cls.code} " in (errors.__doc__ or "")
        assert 400 <= cls.status < 600 or cls is errors.FindingsReported


def test_a_code_gives_its_class_back() -> None:
    rebuilt = errors.rebuild("overloaded", "queue full", hint="wait", retry_after_s=2.0)

    assert isinstance(rebuilt, errors.Overloaded)
    assert (rebuilt.message, rebuilt.hint, rebuilt.retry_after_s) == ("queue full", "wait", 2.0)


def test_an_unknown_code_is_our_bug() -> None:
    assert errors.rebuild("from_the_future", "x").exit_code == 70
