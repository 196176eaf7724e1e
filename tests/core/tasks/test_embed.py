from core.tasks.embed import shorten_vector, unpack_vector


def test_a_vector_of_zeros_can_be_shortened() -> None:
    assert list(unpack_vector(shorten_vector(bytes(16), 2))) == [0.0, 0.0]
