/* A program that embeds Python, for tests/find.rs: before the start, running, with a second
 * interpreter, after its first thread has ended, or after the end. */
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void park(void) {
    puts("ready");
    fflush(stdout);
    getchar();
}

static void *run(void *mode) {
    Py_NoSiteFlag = 1; /* what `site` imports may need symbols that this program hides */
    Py_Initialize();
    /* Refers to variables of the library, which a linker may answer by copying them into this program. */
    if (Py_None == NULL || !PyType_Check((PyObject *)&PyType_Type)) exit(1);
    if (!strcmp(mode, "sub")) {
        PyThreadState *main_thread = PyThreadState_Get();
        if (Py_NewInterpreter() == NULL) exit(1);
        PyThreadState_Swap(main_thread);
    }
    if (!strcmp(mode, "late")) {
        Py_Finalize();
        park();
        exit(0);
    }
    exit(PyRun_SimpleString("import sys\nsys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()\n"));
}

int main(int argc, char **argv) {
    char *mode = argc > 1 ? argv[1] : "run";
    if (!strcmp(mode, "early")) park();
    if (!strcmp(mode, "orphan")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, mode)) return 1;
        pthread_exit(NULL);
    }
    run(mode);
}
