from django.urls import path

from core import views

urlpatterns = [
    path('', views.status, name='status'),
    path('status.json', views.status_json),
    path('health', views.health),
    path('certificate', views.certificate, name='certificate'),
    path('pdf', views.pdf_view, name='pdf'),
    path('pdf/<uuid:name>', views.signed_pdf, name='signed-pdf'),
    path('do/<slug:what>', views.do, name='do'),
]
handler404 = 'core.views.not_found'
handler500 = 'core.views.broken'
