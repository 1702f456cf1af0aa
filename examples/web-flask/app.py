from flask import Flask

app = Flask(__name__)


@app.get("/")
@app.get("/hello/<name>")
def hello(name="stranger"):
    return {"message": f"Hello, {name}!"}
