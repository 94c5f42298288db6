"""Places for transfers."""

import asyncio

from sampan.images.slots import Slots


def test_so_many_at_a_time_and_more_when_the_limit_rises() -> None:
    limit, inside, release = 1, [], asyncio.Event()

    async def hold(slots: Slots, name: int) -> None:
        async with slots.taken():
            inside.append(name)
            await release.wait()

    async def scene() -> None:
        nonlocal limit
        slots = Slots(lambda: limit)
        tasks = [asyncio.create_task(hold(slots, name)) for name in range(5)]  # noqa: TID251 - awaited below
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert inside == [0]
        limit = 3
        slots.wake()
        await asyncio.sleep(0)
        assert inside == [0, 1, 2]
        tasks[3].cancel()
        release.set()
        await asyncio.wait(tasks)
        assert inside == [0, 1, 2, 4]
        limit = 1
        async with slots.taken():
            assert inside == [0, 1, 2, 4]

    asyncio.run(scene())
