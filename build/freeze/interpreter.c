/* The program that launcher.c runs: Python's interpreter, linked in, and how it begins.
 *
 * start.h, which freeze.py writes, holds compiled modules: bootstrap.py, and what the interpreter imports before it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>
#include <netdb.h>
#include <nss.h>
#include <sys/prctl.h>

#include "start.h" /* start[], and the rows of frozen[] */

/* Have the C library look names up by itself, in files and DNS, whatever the host's nsswitch.conf says. That names
 * libraries of the host, which were made for another C library. Since version 2.34 it needs none for these two. */
static void look_up_names_here(void) {
    static const char *const databases[] = {"passwd", "group", "shadow", "services", "protocols", "networks", "ethers"};
    for (unsigned index = 0; index < sizeof databases / sizeof *databases; index++)
        __nss_configure_lookup(databases[index], "files");
    __nss_configure_lookup("hosts", "files dns");
}

static void stop_unless(PyStatus status) {
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* Start an interpreter that looks at nothing of its host: no variables, no folders, no site. */
static void start_interpreter(int count, char **arguments) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    stop_unless(Py_PreInitialize(&before));

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 1;
    config.module_search_paths_set = 1; /* to none: bootstrap.py finds all modules but those in start.h */
    config.parse_argv = 0;
    config.pathconfig_warnings = 0;
    config.site_import = 0;
    config.use_frozen_modules = 1;
    config.write_bytecode = 0;
    wchar_t **const places[] = {&config.executable,      &config.base_executable, &config.prefix, &config.base_prefix,
                                &config.base_exec_prefix, &config.exec_prefix};
    for (unsigned index = 0; index < sizeof places / sizeof *places; index++)
        stop_unless(PyConfig_SetBytesString(&config, places[index], arguments[0]));
    stop_unless(PyConfig_SetBytesArgv(&config, count, arguments));
    stop_unless(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

int main(int count, char **arguments) {
    look_up_names_here();
    prctl(PR_SET_NAME, "imq"); /* else it would have the dynamic loader's */
    PyImport_FrozenModules = frozen;
    start_interpreter(count, arguments);
    PyObject *variables = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *code = PyMarshal_ReadObjectFromString(start, sizeof start);
    PyObject *result = code ? PyEval_EvalCode(code, variables, variables) : NULL;
    if (!result)
        PyErr_Print(); /* which ends the process when the exception is SystemExit */
    return Py_FinalizeEx() < 0 ? 120 : !result;
}
