# aiovmmanager, as it comes: logs in, lists, starts a machine, waits for its task.
import asyncio
import sys

from aiovmmanager import AuthSession, VmSession

url, email, password, host = sys.argv[1:]


async def main():
    async with AuthSession(url) as auth:
        token = await auth.get_token(email=email, password=password)
    headers = {"x-xsrf-token": token["token"]}
    async with VmSession(url, headers=headers) as vm:
        hosts = await vm.get("/host", params={"where": f"(id+EQ+{host})"})
        answer = await vm.post(f"/host/{host}/start")
        while True:
            task = await vm.get_task_by_consul_id(answer["task"])
            if task["status"] not in ("created", "running"):
                break
            await asyncio.sleep(0.1)
        print(token["id"], hosts["size"], answer["id"], task["name"], task["status"])


asyncio.run(main())
