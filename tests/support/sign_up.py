"""A small web application as people write them: a form, a cookie, a redirect, a page by path.

Prints its port. Keeps what it is told in the PostgreSQL database that is its argument.
"""

import sys
from wsgiref.simple_server import make_server

import psycopg
from bottle import Bottle, redirect, request, response

people = psycopg.connect(sys.argv[1], autocommit=True)
people.execute("CREATE TABLE people (subscriber TEXT, email TEXT, note TEXT)")
app = Bottle()


@app.post("/sign-up")
def sign_up():
    form = request.forms.decode("utf-8")
    subscriber = form["subscriber"]
    people.execute("INSERT INTO people VALUES (%s, %s, %s)", (subscriber, form["email"], form["note"]))
    response.set_cookie("sid", subscriber, path="/", httponly=True)
    redirect(f"/subscribers/{subscriber}?welcome=1", 303)


@app.get("/subscribers/<subscriber>")
@app.get("/own/<subscriber>")
def page(subscriber):
    rows = people.execute("SELECT email, note FROM people WHERE subscriber = %s", (subscriber,)).fetchall()
    print("shows", subscriber, request.get_cookie("sid"), request.get_header("x-subscriber"), file=sys.stderr)
    return {
        "subscriber": subscriber,
        "cookie": request.get_cookie("sid"),
        "signed_up": len(rows),
        "email": rows[0][0],
        "note": rows[0][1],
    }


@app.get("/results")
def results():
    asked = request.query.decode("utf-8")["subscriber"]
    return str(people.execute("SELECT count(*) FROM people WHERE subscriber = %s", (asked,)).fetchone()[0])


server = make_server("127.0.0.1", 0, app)
print(server.server_port, flush=True)
server.serve_forever()
