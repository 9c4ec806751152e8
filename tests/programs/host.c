/* A program that embeds Python, for tests/find.rs: before the start, running, with a second interpreter, or after the end. */
#include <Python.h>
#include <stdio.h>
#include <string.h>

static void park(void) {
    puts("ready");
    fflush(stdout);
    getchar();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "run";
    if (!strcmp(mode, "early")) park();
    Py_NoSiteFlag = 1; /* what `site` imports may need symbols that this program hides */
    Py_Initialize();
    /* Refers to variables of the library, which a linker may answer by copying them into this program. */
    if (Py_None == NULL || !PyType_Check((PyObject *)&PyType_Type)) return 1;
    if (!strcmp(mode, "sub")) {
        PyThreadState *main_thread = PyThreadState_Get();
        if (Py_NewInterpreter() == NULL) return 1;
        PyThreadState_Swap(main_thread);
    }
    if (!strcmp(mode, "late")) {
        Py_Finalize();
        park();
        return 0;
    }
    return PyRun_SimpleString("import sys\nsys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()\n");
}
