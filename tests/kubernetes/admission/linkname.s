// A function without a body (compilePolicy in main.go) needs this file.
