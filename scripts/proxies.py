"""What a client sees of the API behind a proxy. Called by scripts/proxies: NAME PORT KEY PLACE."""
import glob, http.client, json, os, ssl, sys, time

name, port, key, place = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
# The proxy's certificate is its own; what is tried here is what comes through.
tls = ssl._create_unverified_context()
bearer = {"Authorization": f"Bearer {key}"}
BIG = 64 << 20


def call(method, path, headers=(), body=None, source="127.0.0.1", whole=True):
    connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=tls, source_address=(source, 0))
    try:
        connection.request(method, "/exhaust" + path, body=body, headers=dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        pass  # Refused before all was sent; the answer is there.
    answer = connection.getresponse()
    if not whole:
        return answer
    return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()


def wait(what, done):
    until = time.time() + 90
    while time.time() < until:
        try:
            found = done()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"{name}: no {what}")


def check(what, is_right, seen=""):
    if not is_right:
        sys.exit(f"{name}: {what}: {seen}")
    print(f"   {what}")


wait("health", lambda: call("GET", "/health")[0] == 200)
check("health without a key has no messages", b"message" not in call("GET", "/health")[2])
status, headers, body = call("GET", "/job/list", {"X-Forwarded-For": "203.0.113.9"}, source="127.0.0.2")
check("a call without a key is 401", status == 401, status)
log = open(f"{place}/{name}.log").read
check("the audit log has the client's address", wait("line", lambda: "address=127.0.0.2" in log()))
check("and none that the client made up", "203.0.113.9" not in log())
request = {"request": {"tag": "t", "jobId": "course-report", "jobConfig": {"batchFilters": ["TPD"]}}}
post = {"Content-Type": "application/json", **bearer}
status, _, body = call("POST", "/job/request/submit", post, json.dumps(request))
check("a submission is taken", status == 200, body)
request_id = json.loads(body)["result"]["request_id"]


def completed():
    result = json.loads(call("GET", f"/job/request/read/t/{request_id}", bearer)[2])["result"]
    return result if result["status"] == "COMPLETED" else None


link = wait("completion", completed)["downloadURLs"][0]
base = f"https://localhost:{port}/exhaust"
check("links begin with public_url", link.startswith(base + "/files/"), link)
path = link[len(base):]
status, headers, body = call("GET", path)
[file] = [f for f in glob.glob(f"{place}/{name}/reports/**", recursive=True) if f.endswith(path.split("?")[0].split("/")[-1])]
check("a download is the stored file", status == 200 and body == open(file, "rb").read(), status)
check("its headers come through", headers["cache-control"] == "no-store" and "frame-ancestors 'none'" in headers["content-security-policy"], headers)
check("a link opens without a key and not when altered", call("GET", path.replace("signature=", "signature=0"))[0] == 403)
status, headers, part = call("GET", path, {"Range": "bytes=5-14"})
check("a range", status == 206 and part == body[5:15], status)
with open(file, "wb") as big:
    big.truncate(BIG)
answer = call("GET", path, whole=False)
size, first = 0, None
while piece := answer.read(1 << 16):
    size += len(piece)
    first = first or glob.glob(f"{place}/nginx-proxy/**/*", recursive=True)
check(f"a download of {BIG >> 20} MiB streams", size == BIG and not [f for f in first or [] if os.path.isfile(f)], size)
for size, meant in ((900_000, 400), (2 << 20, 413), (6 << 20, 413)):
    status = call("POST", "/job/request/submit", post, b" " * size)[0]
    check(f"a body of {size} bytes is {meant}", status == meant, status)
page = call("GET", "/docs/")
check("the page to try it", page[0] == 200 and b"swagger-ui-bundle.js" in page[2])
check("its calls have the prefix", json.loads(call("GET", "/openapi.json")[2])["servers"] == [{"url": "/exhaust"}])
check("metrics need a key", call("GET", "/metrics")[0] == 401 and call("GET", "/metrics", bearer)[0] == 200)
