"""A small independent API for the comparison: it counts what each client asks and misbehaves on request.

Shares no code with telemetron-sync. Listens on 127.0.0.1:PORT (the argument); prints nothing.

GET /stats          what was counted: requests, by status, the most requests for one email, and the
                    busiest second
POST /begin         forgets what was counted and takes a JSON object: `limit` (requests per second;
                    more get 429 with Retry-After: 1), `revoke_after` (requests; then 401), `outage`
                    ([first request, seconds]: connections are closed), `organization`
                    (whose customers it serves), `delay` (seconds)
"""

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter

from aiohttp import web


class Api:
    def __init__(self):
        self.begin({})

    def begin(self, settings):
        self.settings = settings
        self.asked = Counter()
        self.statuses = Counter()
        self.seconds = Counter()
        self.tokens, self.filled = 0.0, time.monotonic()
        self.outage_until = None
        self.after_revocation = 0

    def allows(self):
        limit = self.settings.get("limit")
        if limit is None:
            return True
        now = time.monotonic()
        # A tenth of a second's worth may arrive at once.
        self.tokens = min(max(1.0, limit / 10), self.tokens + (now - self.filled) * limit)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def customer(self, email):
        organization = self.settings.get("organization", "org_a")
        digest = hashlib.sha256(f"{organization} {email}".encode()).digest()
        if digest[0] < 26:
            return None
        number = digest.hex()[:12]
        return {
            "id": f"cust_{number}",
            "organizationId": organization,
            "name": f"Customer {number}",
            "email": email,
            "phone": None,
            "address": f"{digest[1]} Main Street",
            "devices": [f"TM-{digest[i:i + 4].hex()}" for i in range(4, 4 + digest[2] % 5)],
            "orders": [f"SO-{digest[i:i + 4].hex()}" for i in range(12, 12 + digest[3] % 7)],
            "metadata": {"tier": digest[16] % 3},
            "createdAt": "2025-10-01T12:00:00Z",
        }

    def status(self, request):
        """The status of a response, or None for a closed connection."""
        count = sum(self.asked.values())
        first, seconds = self.settings.get("outage", (None, 0))
        if first is not None and count >= first and self.outage_until is None:
            self.outage_until = time.monotonic() + seconds
        if self.outage_until is not None and time.monotonic() < self.outage_until:
            return None
        revoked = count > self.settings.get("revoke_after", sys.maxsize)
        if revoked or request.headers.get("x-api-key") != "key":
            return 401
        return 200 if self.allows() else 429

    async def lookup(self, request):
        try:
            email = (await request.json())["email"].lower()
        except ConnectionResetError:
            # A client that was killed.
            return web.Response(status=400)
        self.asked[email] += 1
        self.seconds[int(time.monotonic())] += 1
        await asyncio.sleep(self.settings.get("delay", 0))
        status = self.status(request)
        if status is None:
            self.statuses["closed"] += 1
            request.transport.abort()
            return web.Response(status=500)
        customer = self.customer(email) if status == 200 else None
        if status == 200 and customer is None:
            status = 404
        self.statuses[str(status)] += 1
        if customer is not None:
            return web.json_response(customer)
        headers = {"Retry-After": "1"} if status == 429 else {}
        return web.json_response({"error": f"status {status}"}, status=status, headers=headers)

    async def stats(self, _):
        asked = self.asked.values()
        return web.json_response({
            "requests": sum(asked),
            "emails": len(self.asked),
            "most_for_one_email": max(asked, default=0),
            "busiest_second": max(self.seconds.values(), default=0),
            "statuses": self.statuses,
        })

    async def restart(self, request):
        self.begin(json.loads(await request.text() or "{}"))
        return web.json_response({})


def main():
    api = Api()
    app = web.Application()
    app.router.add_post("/customer/queryCustomer", api.lookup)
    app.router.add_get("/stats", api.stats)
    app.router.add_post("/begin", api.restart)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
