/** The CPUs, and the megabytes of memory that the operating system reports to the JVM. */
public class Numbers {
    public static void main(String[] arguments) {
        var system = (com.sun.management.OperatingSystemMXBean)
            java.lang.management.ManagementFactory.getOperatingSystemMXBean();
        System.out.println("cpus " + Runtime.getRuntime().availableProcessors()
            + " memory " + (system.getTotalMemorySize() >> 20));
    }
}
