/* The program that launcher.c runs: Python's interpreter, linked statically, and its start.
 *
 * start.h, which freeze.py writes, has compiled modules: bootstrap.py, and those that the interpreter imports before it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>
#include <netdb.h>
#include <nss.h>
#include <sys/prctl.h>

#include "start.h" /* start[], and the rows of frozen[] */

/* Make the C library resolve names itself, from files and DNS, and ignore the host's nsswitch.conf. That file names
 * libraries of the host, which were built for another C library. Since glibc 2.34, files and DNS need no library. */
static void resolve_names_internally(void) {
    static const char *const databases[] = {"passwd", "group", "shadow", "services", "protocols", "networks", "ethers"};
    for (unsigned index = 0; index < sizeof databases / sizeof *databases; index++)
        __nss_configure_lookup(databases[index], "files");
    __nss_configure_lookup("hosts", "files dns");
}

static void stop_unless(PyStatus status) {
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* Start an interpreter that is isolated from its host: it reads no variables, no folders and no site module. */
static void start_interpreter(int count, char **arguments) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    stop_unless(Py_PreInitialize(&before));

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 1;
    config.module_search_paths_set = 1; /* to none: bootstrap.py finds all modules except those in start.h */
    config.parse_argv = 0;
    config.pathconfig_warnings = 0;
    config.site_import = 0;
    config.use_frozen_modules = 1;
    config.write_bytecode = 0;
    wchar_t **const paths[] = {&config.executable,       &config.base_executable, &config.prefix, &config.base_prefix,
                               &config.base_exec_prefix, &config.exec_prefix};
    for (unsigned index = 0; index < sizeof paths / sizeof *paths; index++)
        stop_unless(PyConfig_SetBytesString(&config, paths[index], arguments[0]));
    stop_unless(PyConfig_SetBytesArgv(&config, count, arguments));
    stop_unless(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

int main(int count, char **arguments) {
    resolve_names_internally();
    prctl(PR_SET_NAME, "imq"); /* otherwise the process would have the name of the dynamic loader */
    PyImport_FrozenModules = frozen;
    start_interpreter(count, arguments);
    PyObject *variables = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *code = PyMarshal_ReadObjectFromString(start, sizeof start);
    PyObject *result = code ? PyEval_EvalCode(code, variables, variables) : NULL;
    if (!result)
        PyErr_Print(); /* exits when the exception is SystemExit */
    return Py_FinalizeEx() < 0 ? 120 : !result;
}
